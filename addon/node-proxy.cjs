// Takes the calls of an older Node through the proxy that HTTPS_PROXY names: fetch, and https.
//
// Node reads that variable itself from 22.21 and 24.5 on, with NODE_USE_ENV_PROXY=1; there this does nothing. Loaded by
// NODE_OPTIONS, which `tracecli run` and `tracecli env` set.
'use strict';

const [major, minor] = process.versions.node.split('.').map(Number);
const readsItself = major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
const named = process.env.https_proxy || process.env.HTTPS_PROXY;

if (!readsItself && named && process.env.NODE_USE_ENV_PROXY === '1') install(named);

function install(named) {
  const http = require('node:http');
  const https = require('node:https');
  const net = require('node:net');
  const tls = require('node:tls');

  let proxy;
  try {
    proxy = new URL(named);
  } catch {
    return;
  }
  if (proxy.protocol !== 'http:') return;
  const login = decodeURIComponent(proxy.username) + ':' + decodeURIComponent(proxy.password);
  const authorization = proxy.username ? { 'Proxy-Authorization': 'Basic ' + Buffer.from(login).toString('base64') } : {};
  const entries = (process.env.no_proxy || process.env.NO_PROXY || '').toLowerCase().split(/[\s,]+/).filter(Boolean);

  const bare = (host) => host.replace(/^\[|\]$/g, '');

  function exempt(host, port) {
    const name = bare(host).toLowerCase();
    return entries.some((entry) => {
      const [, domain, only] = /^(.*?)(?::(\d+))?$/.exec(net.isIPv6(bare(entry)) ? bare(entry) + ':' + port : entry);
      if (only && Number(only) !== Number(port)) return false;
      const suffix = domain.replace(/^\*/, '').replace(/^\./, '');
      return suffix === '' || name === suffix || name.endsWith('.' + suffix);
    });
  }

  function tunnel(host, port, done) {
    const target = (net.isIPv6(bare(host)) ? `[${bare(host)}]` : host) + ':' + port;
    const asking = http.request({
      host: bare(proxy.hostname),
      port: proxy.port || 80,
      method: 'CONNECT',
      path: target,
      headers: { Host: target, ...authorization },
      agent: false,
    });
    asking.once('connect', (answer, socket) => {
      if (answer.statusCode === 200) return done(null, socket.setNoDelay(true));
      socket.destroy();
      done(new Error(`the proxy answered ${answer.statusCode} to CONNECT ${target}`));
    });
    asking.once('error', done);
    asking.end();
  }

  // https, and what is made of its agents, as node-fetch and axios
  const direct = https.Agent.prototype.createConnection;
  https.Agent.prototype.createConnection = function createConnection(...given) {
    const done = typeof given[given.length - 1] === 'function' ? given[given.length - 1] : null;
    const options = given.find((one) => one !== null && typeof one === 'object') || {};
    const host = options.host || 'localhost';
    const port = options.port || 443;
    if (!done || options.socketPath || exempt(host, port)) return direct.apply(this, given);
    tunnel(host, port, (error, socket) => {
      if (error) return done(error);
      done(null, tls.connect({ ...options, socket, path: undefined, servername: options.servername || (net.isIP(host) ? '' : host) }));
    });
    return undefined;
  };

  // fetch: undici is loaded when it is used first, and its agent takes a function that connects
  function connect(options, done) {
    const secure = options.protocol === 'https:';
    const port = options.port || (secure ? 443 : 80);
    const host = options.hostname;
    const finish = (error, socket) => {
      if (error) return done(error, null);
      if (!secure) return done(null, socket);
      const name = options.servername || (net.isIP(bare(host)) ? '' : host);
      const over = tls.connect({ socket, servername: name, ALPNProtocols: ['http/1.1'] });
      over.once('secureConnect', () => done(null, over)).once('error', (problem) => done(problem, null));
    };
    if (!exempt(host, port)) return tunnel(host, port, finish);
    const socket = net.connect({ host: bare(host), port });
    socket.once('connect', () => finish(null, socket.setNoDelay(true))).once('error', finish);
  }

  const fetching = globalThis.fetch;
  if (typeof fetching !== 'function') return;
  const place = Symbol.for('undici.globalDispatcher.1');
  let installed = false;
  function proxied(...given) {
    if (!installed) {
      installed = true;
      void globalThis.Response; // loads undici
      const Agent = globalThis[place] && globalThis[place].constructor;
      if (Agent && Agent.name === 'Agent') globalThis[place] = new Agent({ connect }); // else the program has its own
    }
    return fetching.apply(this, given);
  }
  Object.defineProperty(proxied, 'name', { value: 'fetch' });
  Object.defineProperty(globalThis, 'fetch', { value: proxied, writable: true, enumerable: true, configurable: true });
}

"""What people look at in a terminal: pure functions from rows and opened exchanges to Rich renderables.

Nothing here reads a file, the clock or the environment. Every recorded value passes `visible.line` or
`visible.lines`; none is ever read as Rich markup.
"""

"""What is known about AI providers: their hosts, their endpoints, and one module per wire format.

Everything here is pure: values in, values out. Facts carry the address of the provider's page that states them.
"""

"""Connections that do not wait for ever for the head of an answer that comes byte by byte."""

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from compiler.registry.deadline import TimedResponse


class _Plain(HTTPConnection):
    """A connection without TLS."""

    response_class = TimedResponse


class _Secure(HTTPSConnection):
    """A connection with TLS."""

    response_class = TimedResponse


class PlainPool(HTTPConnectionPool):
    """Connections without TLS."""

    ConnectionCls = _Plain


class SecurePool(HTTPSConnectionPool):
    """Connections with TLS."""

    ConnectionCls = _Secure

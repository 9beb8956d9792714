"""How our processes answer over HTTP: TLS, the server's start and end, metrics, health."""

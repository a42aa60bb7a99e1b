"""The HTTP server: uvicorn with early refusals and graceful shutdown."""

"""Bodies of the DeepL routes."""

from service.api.schemas import Body


class DeeplError(Body):
    """The body of every 4xx and 5xx of DeepL's dialect."""

    message: str

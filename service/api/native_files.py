"""The native routes for files, under /v1/files."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from models.format.languages import canonical
from service.accounts.glossaries import Glossaries
from service.accounts.keys import Keys
from service.api import native_glossaries as glossaries_api
from service.api import schemas
from service.api.calls import call_of
from service.api.downloads import FILE_REPLY, download
from service.api.errors import documented, sentence_of
from service.api.events import EVENT_STREAM, encode
from service.api.language_codes import meant
from service.api.native_key import SECURITY, native_key
from service.api.openapi import link, upload_body
from service.api.routes import Routes
from service.api.uploads import read_upload
from service.files import translated_name
from service.live.registry import Registry
from service.requests.file_jobs import FileJob, FileJobs
from service.text.sentences import SplitSentences
from service.translation.results import Options


def router(jobs: FileJobs, registry: Registry, keys: Keys, glossaries: Glossaries) -> APIRouter:
    """Return the routes.

    Args:
        jobs: the files of this server.
        registry: of the models, whose languages a form may name otherwise.
        keys: of the clients.
        glossaries: that a form may name.
    """
    routes = Routes(prefix="/v1/files", tags=["Files"])

    @routes.post(
        "",
        status_code=202,
        response_model=schemas.FileReply,
        responses={
            **documented(400, 401, 403, 404, 413, 415, 422, 429, 503, 507),
            202: {"links": {"Status": link("get_file", file_id="id"), "Result": link("download_file", file_id="id")}},
        },
        openapi_extra=upload_body(schemas.FileFields),
        summary="Upload a file to translate",
        **SECURITY,
    )
    async def upload_file(request: Request) -> Response:
        await jobs.admit(native_key(request))
        upload = await read_upload(request, "The form has no file; send it in the field `file`.")
        source, target = upload.field("source"), upload.field("target")
        if source is None or target is None:
            raise HTTPException(400, "The form has no source or no target; send codes such as en and de.")
        options = Options(
            *meant(canonical(source).lower(), canonical(target).lower(), registry.ways),
            split_sentences=split_sentences(upload.field("split_sentences")),
            exact_terms=_is_exact(upload.field("exact")),
        )
        if (wanted := upload.field("glossary")) is not None:
            options = await glossaries_api.with_terms(options, wanted, glossaries, keys, native_key(request))
        columns = [name for name in map(str.strip, (upload.field("columns") or "").split(",")) if name]
        job = await jobs.submit(call_of(request, native_key(request)), upload.name, upload.file, options, columns)
        return Response(
            _reply(job).model_dump_json(exclude_none=True),
            202,
            headers={"Location": f"/v1/files/{job.id}"},
            media_type="application/json",
        )

    @routes.get("/{file_id}", responses=documented(404, 422), summary="Get translation status", **SECURITY)
    async def get_file(file_id: str, request: Request) -> schemas.FileReply:
        return _reply(jobs.find(file_id, native_key(request)))

    @routes.get(
        "/{file_id}/events",
        response_class=Response,
        responses={**documented(404, 422), 200: EVENT_STREAM},
        summary="Stream translation status (SSE)",
        **SECURITY,
    )
    async def follow_file(file_id: str, request: Request) -> Response:
        job = jobs.find(file_id, native_key(request))

        async def lines() -> AsyncIterator[bytes]:
            async for state in jobs.follow(job):
                yield encode(state.status, _reply(state).model_dump_json(exclude_none=True).encode())

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @routes.get(
        "/{file_id}/result",
        response_class=Response,
        responses={**documented(404, 409, 422), 200: FILE_REPLY},
        summary="Download the translated file",
        **SECURITY,
    )
    async def download_file(file_id: str, request: Request) -> Response:
        job = jobs.find(file_id, native_key(request))
        if job.status != "done":
            raise HTTPException(409, f"The file is not translated: it is {job.status}.")
        return download(job)

    @routes.delete(
        "/{file_id}",
        status_code=204,
        responses=documented(404, 422),
        summary="Cancel a translation and delete its files",
        **SECURITY,
    )
    async def delete_file(file_id: str, request: Request) -> Response:
        await jobs.remove(jobs.find(file_id, native_key(request)))
        return Response(status_code=204)

    return routes


def split_sentences(given: str | None) -> SplitSentences:
    """Return one of the three values of split_sentences; "1" if it is missing.

    Raises:
        HTTPException: 400, it is another value.
    """
    match given or "1":
        case "0":
            return "0"
        case "1":
            return "1"
        case "nonewlines":
            return "nonewlines"
    raise HTTPException(400, "split_sentences is 0, 1 or nonewlines.")


def _is_exact(given: str | None) -> bool:
    """Return whether terms stand as the glossary has them.

    Raises:
        HTTPException: 400, it is neither true nor false.
    """
    if given not in (None, "", "true", "false"):
        raise HTTPException(400, "exact is true or false.")
    return given != "false"


def _reply(job: FileJob) -> schemas.FileReply:
    done = job.characters_done / job.characters if job.characters else 0.0
    return schemas.FileReply(
        id=job.id,
        name=translated_name(job.name, job.options.target),
        status=job.status,
        progress=1.0 if job.status == "done" else round(done, 4),
        characters=job.characters,
        source=job.source,
        target=job.options.target,
        error=None if job.error is None else sentence_of(job.error),
    )

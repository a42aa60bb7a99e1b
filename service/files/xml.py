"""Safe XML parsing: without document types, entities or the network."""

from typing import Any

from lxml import etree

from service.files import FileRefused

MAX_NAMESPACES = 100  # each is written with each element that is taken out of a tree; Word declares up to 40


def parse(data: bytes) -> Any:
    """Parse a document into a tree.

    Raises:
        FileRefused: the document is not well-formed, or has a document type declaration.
        MemoryError: the process has not enough.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        tree = etree.ElementTree(etree.fromstring(data, parser))
    except (etree.XMLSyntaxError, ValueError) as error:
        if getattr(error, "code", None) == etree.ErrorTypes.ERR_NO_MEMORY:  # told as an "unknown error"
            raise MemoryError from None
        raise FileRefused(f"The file's XML can't be read: {str(error)[:200]}.") from None
    if tree.docinfo.doctype:
        raise FileRefused("The file has a document type declaration, which is not read; save it without one.")
    if _most_namespaces(tree) > MAX_NAMESPACES:
        raise FileRefused(f"An element of the file is in the scope of more than {MAX_NAMESPACES} namespaces.")
    return tree


def _most_namespaces(tree: Any) -> int:
    """Return the largest number of namespace declarations that an element of a tree is in the scope of."""
    most = here = 0
    for event, _ in etree.iterwalk(tree, events=("start-ns", "end-ns")):
        here += 1 if event == "start-ns" else -1
        most = max(most, here)
    return most

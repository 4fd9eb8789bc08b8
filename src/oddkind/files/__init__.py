"""From files to `Samples`."""

from oddkind.files.listing import Entry
from oddkind.files.source import Source, check_files, each, read, resolved, source_of

__all__ = ["Entry", "Source", "check_files", "each", "read", "resolved", "source_of"]

"""From files to `Samples`."""

from oddkind.readers.listing import Entry
from oddkind.readers.mnist import MNIST_FILE, load_mnist
from oddkind.readers.source import Source, check_files, each, read, resolved, source_of

__all__ = ["MNIST_FILE", "Entry", "Source", "check_files", "each", "load_mnist", "read", "resolved", "source_of"]

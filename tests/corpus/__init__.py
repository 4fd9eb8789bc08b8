"""A corpus of small made-up data sets: what users have in their folders, and what lies about itself.

`FORMS` are ways in which one file can be written; `write(file, draw)` writes one, another one at each call. `LAYOUTS`
are whole data sets: folders, names, links and manifests. Each says what is expected of it.
"""

from corpus.data_sets import PLAIN, N, write_forms
from corpus.forms import CANARY, FORMS, LAYOUTS, MANY

__all__ = ["CANARY", "FORMS", "LAYOUTS", "MANY", "PLAIN", "N", "write_forms"]

"""What labeling and models both stand on: files, images, shards, the database, the workspace."""

import atexit

from core.process_end import skip_garbage

atexit.register(skip_garbage)

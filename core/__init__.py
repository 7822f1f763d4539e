"""What labeling and models both stand on: files, images, shards, the database, the workspace."""

import atexit
import gc

# At its end a process looks for garbage among all that it has, 1.3 s after imports as large as
# torch's and Prefect's; what is frozen is passed over.
atexit.register(gc.freeze)

"""What labeling and models both stand on: files, images, shards, the database, the workspace."""

"""What operators run: status, trace, fsck."""

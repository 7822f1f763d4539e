"""Labels read from and written to CSV, COCO, class folders and Label Studio JSON."""

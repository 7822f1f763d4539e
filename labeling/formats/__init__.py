"""READERS and WRITERS: every format of a label file by its name."""

from collections.abc import Callable, Sequence
from pathlib import Path

from labeling.formats.coco import read_coco, write_coco
from labeling.formats.csv_table import read_csv, write_csv
from labeling.formats.export_rows import Export
from labeling.formats.folders import read_folders, write_folders
from labeling.formats.label_studio import read_label_studio, write_label_studio
from labeling.formats.rows import LabelFile
from labeling.kinds import Kind

READERS: dict[str, Callable[[Path, Sequence[str], Kind], LabelFile]] = {
    "csv": read_csv,
    "coco": read_coco,
    "folders": read_folders,
    "label-studio": read_label_studio,
}
WRITERS: dict[str, Callable[[Export, Path], None]] = {
    "csv": write_csv,
    "coco": write_coco,
    "folders": write_folders,
    "label-studio": write_label_studio,
}

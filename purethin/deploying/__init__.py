"""Out to the files of other libraries."""

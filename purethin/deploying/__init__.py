"""Out to runtimes: the widths that each runs well."""

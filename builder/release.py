"""The version of this program, in the one place that packaging reads too."""

VERSION = "0.1.0"

#!/usr/bin/env python3
"""A hundred random operation streams against the model (streams.py tells how)."""
import sys

import streams

sys.exit(streams.main(["--streams", "100"]))

#!/usr/bin/env python3
"""Two hundred random operation streams against the model (streams.py tells how)."""
import sys

import streams

sys.exit(streams.main(["--streams", "200"]))

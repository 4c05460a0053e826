#!/usr/bin/env python3
"""Two hundred random operation streams against the model (streams.py tells how): the same ones at each run, so that what fails is news.
Others: streams.py --streams N."""
import sys

import streams

sys.exit(streams.main(["--streams", "200", "--first", "20261128"]))

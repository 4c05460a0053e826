#!/usr/bin/env python3
"""Five hundred random permission trees and users against open(2) (perms.py tells how)."""
import os

import mnt
import perms

if os.geteuid() == 0:
    perms.main(["--trees", "500"])
else:
    mnt.skip("permission trees", "only root can become other users")
    mnt.done()

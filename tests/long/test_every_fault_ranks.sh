#!/bin/sh
# A kill and a full disk at every call by which a training changes its run's folder: each of two ranks.
EVERY_CALL="2:0 2:1" exec sh tests/faults/test_checkpoint_faults.sh

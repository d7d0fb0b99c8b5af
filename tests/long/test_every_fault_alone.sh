#!/bin/sh
# A kill and a full disk at every call by which a training changes its run's folder: one rank.
EVERY_CALL="1:0" exec sh tests/faults/test_checkpoint_faults.sh

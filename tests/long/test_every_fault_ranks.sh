#!/bin/sh
# A kill and a full disk at calls by which a training changes its run's folder: each of two ranks, at
# every fifth call; EVERY_NTH=1 takes them all, in some twenty minutes.
EVERY_CALL="2:0 2:1" EVERY_NTH=${EVERY_NTH:-5} exec sh tests/faults/test_checkpoint_faults.sh

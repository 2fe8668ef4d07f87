#!/bin/sh
test -e /etc/from-ignition

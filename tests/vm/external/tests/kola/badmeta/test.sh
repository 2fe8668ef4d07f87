#!/bin/sh
## kola:
##   exlusive: false
exit 0

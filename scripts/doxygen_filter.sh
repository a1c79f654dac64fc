#!/usr/bin/env bash
# A header with its comments as Doxygen reads them: "//" on a line of its own belongs to what follows,
# behind code to what stands before it. Commands and tags of Doxygen are none here: \, @, <, > are text.
exec sed -E '
  /^[[:space:]]*#/b
  /^[[:space:]]*\/\//{ s/[\\@<>#]/\\&/g; s/^([[:space:]]*)\/\//\1\/\/\//; b }
  s/^(.*[;,}]) +\/\/ /\1  \/\/\/< /
' "$1"

# What `cmake --install` lays out; written in a following change.

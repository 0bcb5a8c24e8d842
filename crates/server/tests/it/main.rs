//! The HTTP interface over real sockets, with the memory store behind it.

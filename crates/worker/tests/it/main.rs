//! Tests of this crate through its boundary: a server that speaks the protocol over a real socket, real Python children.

mod attempts;
mod fake;
mod life;
mod tasks;
mod transcript;
mod workflows;

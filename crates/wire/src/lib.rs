//! What goes over the wire: the worker protocol's frames, and the bodies of the HTTP API.
//!
//! Plain data and its encoding: no connection is made here. Unknown fields are ignored, so that a newer peer is understood.

pub mod baichuan;
pub mod child;
pub mod frame;
pub mod http;
pub mod worker;
pub mod workflow;

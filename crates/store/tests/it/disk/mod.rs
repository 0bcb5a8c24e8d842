//! The embedded store on a disk that loses power, tears writes, fails, and is full.
//!
//! A process works on a store while `disk.c`, preloaded into it, writes down what reaches the disk. From that trace
//! come the images that a loss of power at any moment may leave, and each must open as a store that holds everything
//! that was acknowledged, in order, and nothing else.

mod crashes;
mod damage;
mod faults;
mod platter;
mod story;
mod trace;
mod watched;

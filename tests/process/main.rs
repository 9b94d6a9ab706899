//! The real binary as a process: killed, stopped and shut down at exact points, its command line, its probes.
//!
//! What a running operator does to resources is tested in process, in `creation`.

mod command_line;
mod creation;
mod frozen;
mod probes;
mod recovery;
mod scene;
mod shutdown;
mod writes;

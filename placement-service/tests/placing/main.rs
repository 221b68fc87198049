//! The placer with simulated engines over real sockets: what a client gets, and what an engine sees.

mod faults;
mod load;
mod site;
mod success;

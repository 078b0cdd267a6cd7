//! The tool from outside: its binary is run on small databases that the simulator builds the same in every run.

mod damage;
mod database_packs;
mod golden;
mod live;
mod packs;
mod schema;
mod support;
mod usage;

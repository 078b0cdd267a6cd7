//! What `db_bench` and `peers` draw numbers from, beside generators of their own: [`Permutation`] and [`Zipf`].

mod permutation;
mod zipf;

pub use permutation::Permutation;
pub use zipf::Zipf;

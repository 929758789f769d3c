//! How long a server or peer that failed is left alone: longer with each failure in a row, forgotten with the first success.
//!
//! `rule` is the plain function, `asked` reads what a server asks for in `Retry-After`, `file` keeps how every endpoint
//! stands, so that a process that ends does not forget it. Who is asked instead is for the caller to say.

mod asked;
mod file;
mod rule;

pub use asked::retry_after;
pub use file::{Backoffs, Endpoint};
pub use rule::{Asker, Failure, LONGEST_ASKED, Standing};

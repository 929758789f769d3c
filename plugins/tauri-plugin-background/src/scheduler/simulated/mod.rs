//! A simulated `BGTaskScheduler`: the same rules, on a desktop with the real clock or in tests with a virtual one.
//!
//! From the inside out: [`Conditions`] is the state of the phone, [`SimulatedSystem`] is what iOS would do with it, given
//! the moment, [`SimulatedScheduler`] gives that a clock, a timer thread and the [`Scheduler`](super::Scheduler) trait.
//! [`life`] draws what happens to a phone and its owner over days, and [`SimulatedPhone`] plays such a life to the real
//! plugin, in virtual time.

mod conditions;
pub mod life;
mod phone;
mod scheduler;
mod system;

pub use conditions::Conditions;
pub use phone::{App, Diary, Run, SimulatedPhone, Stuck};
pub use scheduler::SimulatedScheduler;
pub use system::{SimulatedSystem, SystemEvent};

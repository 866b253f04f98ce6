//! Random schedules, many and long: shuttle.

use shuttle::sync::atomic;

#[path = "../../../src/budget"]
pub mod budget {
    pub mod account;
    pub mod admission;
    pub mod allocation;
    pub mod books;
    pub mod breaker;
    pub mod credits;
    pub mod limits;
    pub mod model;
    pub mod operation;
    pub mod percent;
    pub mod period;
    pub mod reservation;
    mod show;
}

//! Room for bytes that are kept: what is read ahead for a price, and what is copied of answers to meter them.

use std::cell::Cell;
use std::rc::Rc;

/// How many bytes one worker keeps for one purpose.
#[derive(Debug)]
pub struct Room {
    bytes_max: usize,
    taken: Cell<usize>,
}

impl Room {
    /// An empty room.
    pub fn new(bytes_max: usize) -> Rc<Self> {
        let taken = Cell::new(0);
        Rc::new(Self { bytes_max, taken })
    }

    /// A part of it, of nothing yet.
    pub fn part(self: &Rc<Self>) -> Part {
        Part {
            room: Rc::clone(self),
            bytes: 0,
        }
    }
}

/// What one request takes of a room; given back when dropped. Whoever keeps the bytes keeps this beside them.
#[derive(Debug)]
pub struct Part {
    room: Rc<Room>,
    bytes: usize,
}

impl Part {
    /// Makes it this large, if there is room; else it stays as it is.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        let others = self.room.taken.get().saturating_sub(self.bytes);
        let taken = others.saturating_add(bytes);
        if bytes > self.bytes && taken > self.room.bytes_max {
            return false;
        }
        self.room.taken.set(taken);
        self.bytes = bytes;
        true
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let others = self.room.taken.get().saturating_sub(self.bytes);
        self.room.taken.set(others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_gives_back_another_can_take() {
        let room = Room::new(10);
        let (mut a, mut b) = (room.part(), room.part());
        let check = |part: &mut Part, bytes: usize, fits: bool, taken: usize| {
            assert_eq!(part.resize(bytes), fits, "{bytes}");
            assert_eq!(room.taken.get(), taken, "{bytes}");
        };
        check(&mut a, 6, true, 6);
        check(&mut b, 5, false, 6);
        check(&mut b, 4, true, 10);
        check(&mut a, 7, false, 10);
        check(&mut a, 2, true, 6);
        check(&mut b, 8, true, 10);
        drop(a);
        check(&mut b, 10, true, 10);
        drop(b);
        assert_eq!(room.taken.get(), 0);
    }
}

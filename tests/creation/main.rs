//! Scenarios of creation on a real control plane and the emulator: one sentence per test.

mod plain;

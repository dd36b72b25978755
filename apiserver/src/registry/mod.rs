//! The generic registry: every kind, built in or custom, passes through this code.

mod strategy;

pub use strategy::{
    Column, CommitHook, GarbageCollection, Reservation, Scale, SelectableField, Strategy, StrategyContext,
};

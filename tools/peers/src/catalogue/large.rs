//! Values that live apart from the tree: those of a hundredth of the entries, or less.

use super::{Access, BASE, Group, Scenario, Set, Step, workload};
use crate::data::ValueKind;

/// Values from 16 KiB on live apart.
pub(super) const APART: Option<u64> = Some(16 << 10);

const LARGE: Scenario = Scenario {
    share: 100,
    separate: APART,
    set: Set::Full,
    ..BASE
};

pub(super) const BLOBS: Scenario = Scenario {
    name: "blobs",
    workloads: &[
        workload("blobs-fill", Step::Fill, Group::Data, "values of 100 kB"),
        workload(
            "blobs-read",
            Step::Read(Access::Uniform),
            Group::Data,
            "point reads of them",
        ),
    ],
    value_size: Some(100_000),
    ..LARGE
};

pub(super) const BLOBS_RAW: Scenario = Scenario {
    name: "blobs-raw",
    workloads: &[
        workload(
            "blobs-raw-fill",
            Step::Fill,
            Group::Data,
            "random values of 100 kB",
        ),
        workload(
            "blobs-raw-read",
            Step::Read(Access::Uniform),
            Group::Data,
            "point reads of them",
        ),
    ],
    values: Some(ValueKind::Random),
    value_size: Some(100_000),
    ..LARGE
};

pub(super) const BLOBS_4M: Scenario = Scenario {
    name: "blobs-4m",
    workloads: &[
        workload("blobs-4m-fill", Step::Fill, Group::Data, "random values of 4 MB"),
        workload(
            "blobs-4m-read",
            Step::Read(Access::Uniform),
            Group::Data,
            "point reads of them",
        ),
    ],
    share: 4000,
    values: Some(ValueKind::Random),
    value_size: Some(4_000_000),
    ..LARGE
};

pub(super) const CHURN: Scenario = Scenario {
    name: "churn",
    workloads: &[
        workload("churn-fill", Step::Fill, Group::Data, "values of 100 kB"),
        workload(
            "churn",
            Step::Churn(10),
            Group::Data,
            "ten times as much overwritten, any key evenly",
        ),
    ],
    value_size: Some(100_000),
    ..LARGE
};

//! Filters against a real Bitcoin peer: the whole source, a real wallet, and an ear in LDK's place that is as strict as LDK.

mod ear;
#[path = "../../../tests/common/faces.rs"]
mod faces;
mod hostile;
mod scene;
mod walks;

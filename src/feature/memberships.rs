//! Names of the view that lists the segments of each customer, and of its features.

/// Name of the view.
pub const SEGMENTS_VIEW: &str = "segments";
/// Feature with the names of the segments that depend on no personal feature.
pub const SEGMENT_NAMES: &str = "names";
/// Feature with the names of the audiences that depend on personal features.
pub const PERSONAL_SEGMENT_NAMES: &str = "personal_names";

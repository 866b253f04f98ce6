//! Metric families built from figures that are counted elsewhere.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::budget::credits::MicroCredits;
use crate::counters::DURATION_BUCKETS_US;

/// What every name begins with.
const PREFIX: &str = "breakerbox_";

/// The families of one scrape.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<MetricFamily>);

/// One family while it is filled.
#[derive(Debug)]
pub(super) struct Family {
    family: MetricFamily,
    kind: MetricType,
    labels: &'static [&'static str],
    series: Vec<Metric>,
}

impl Families {
    /// Keeps a family, unless it has no series: an empty one cannot be written.
    pub(super) fn keep(&mut self, family: Family) {
        let Family {
            mut family, series, ..
        } = family;
        if !series.is_empty() {
            family.set_metric(series);
            self.0.push(family);
        }
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let mut family = Family::gauge(name, help, &[]);
        family.add(&[], value);
        self.keep(family);
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        let mut family = Family::counter(name, help, &[]);
        family.add(&[], count(value));
        self.keep(family);
    }

    /// All of them.
    pub(super) fn into_inner(self) -> Vec<MetricFamily> {
        self.0
    }
}

impl Family {
    /// A counter by labels.
    pub(super) fn counter(name: &str, help: &str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, MetricType::COUNTER, labels)
    }

    /// A gauge by labels.
    pub(super) fn gauge(name: &str, help: &str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, MetricType::GAUGE, labels)
    }

    /// A histogram of durations.
    pub(super) fn durations(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM, &[])
    }

    fn new(name: &str, help: &str, kind: MetricType, labels: &'static [&'static str]) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self {
            family,
            kind,
            labels,
            series: Vec::new(),
        }
    }

    /// A series.
    pub(super) fn add(&mut self, values: &[&str], value: f64) {
        let mut metric = Metric::from_label(self.pairs(values));
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.series.push(metric);
    }

    /// A series, if anything was counted: most combinations of labels never occur.
    pub(super) fn add_unless_zero(&mut self, values: &[&str], value: u64) {
        if value > 0 {
            self.add(values, count(value));
        }
    }

    /// The buckets of a histogram: each one's own count, and the sum in microseconds.
    pub(super) fn add_durations(&mut self, bounds_us: &[u64], own_counts: &[u64], sum_us: u64) {
        let mut cumulative = 0_u64;
        let buckets = bounds_us.iter().zip(own_counts).map(|(bound, own)| {
            cumulative = cumulative.saturating_add(*own);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(*bound));
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(own_counts.iter().sum());
        histogram.set_sample_sum(seconds(sum_us));
        let mut metric = Metric::from_label(Vec::new());
        metric.set_histogram(histogram);
        self.series.push(metric);
    }

    /// The buckets of [`crate::counters::Durations`].
    pub(super) fn add_request_durations(&mut self, own_counts: &[u64], sum_us: u64) {
        self.add_durations(&DURATION_BUCKETS_US, own_counts, sum_us);
    }

    fn pairs(&self, values: &[&str]) -> Vec<LabelPair> {
        let pairs = self.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        pairs.collect()
    }
}

/// A count as the exposition wants it: exact to 2^53.
#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
#[expect(clippy::as_conversions, reason = "there is no From<u64> for f64")]
pub(super) fn count(value: u64) -> f64 {
    value as f64
}

/// Credits as the exposition wants them: the double nearest to the exact decimal.
pub(super) fn in_credits(credits: MicroCredits) -> f64 {
    // The decimal's own digits, so that 0.2 is written 0.2.
    credits.to_string().parse().unwrap_or(f64::NAN)
}

#[expect(clippy::float_arithmetic, reason = "a duration, not money")]
fn seconds(us: u64) -> f64 {
    count(us) / 1_000_000.0
}

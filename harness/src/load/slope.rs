//! How reads grow with the processes that serve, as the slope of a line through all shapes.

/// The slope of reads in processes, by least squares, in units of what one process reads.
///
/// Zero: however many processes there are, they read what one reads. One: each reads for itself.
/// Nothing where no shape has one process, none has more, or one process read nothing.
pub fn slope(points: &[(u16, u64)]) -> Option<f64> {
    let of_one: Vec<_> =
        points.iter().filter(|(processes, _)| *processes == 1).map(|(_, reads)| *reads).collect();
    let unit = mean(of_one.iter().map(|reads| float(*reads)))?;
    let middle = mean(points.iter().map(|(processes, _)| f64::from(*processes)))?;
    let height = mean(points.iter().map(|(_, reads)| float(*reads)))?;
    let (mut together, mut spread) = (0.0, 0.0);
    for (processes, reads) in points {
        let away = f64::from(*processes) - middle;
        together += away * (float(*reads) - height);
        spread += away * away;
    }
    (spread > 0.0 && unit > 0.0).then(|| together / spread / unit)
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = u32::try_from(numbers.len()).ok().filter(|count| *count > 0)?;
    Some(numbers.sum::<f64>() / f64::from(count))
}

/// A count as a number to reckon with. Those of one run fit.
pub fn float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cache_that_all_share_has_no_slope_and_one_for_each_has_one() {
        assert_eq!(slope(&[(1, 75), (2, 75), (4, 75), (8, 75)]), Some(0.0));
        assert_eq!(slope(&[(1, 75), (2, 150), (4, 300), (8, 600)]), Some(1.0));
    }

    #[test]
    fn a_few_reads_more_or_less_are_no_slope_to_speak_of() {
        let slope = slope(&[(1, 75), (2, 78), (2, 74), (4, 76), (4, 79), (8, 77)]).unwrap();
        assert!(slope.abs() < 0.01, "{slope}");
    }

    #[test]
    fn too_few_shapes_have_no_slope() {
        for points in [&[][..], &[(1, 75)], &[(2, 75), (4, 75)], &[(1, 0), (2, 0)]] {
            assert_eq!(slope(points), None, "{points:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_much_one_process_reads(unit in 1_u64..1_000, more in 0_u64..5) {
            let points = [1_u16, 2, 4, 8].map(|processes| {
                (processes, unit * (1 + more * (u64::from(processes) - 1)))
            });
            let found = slope(&points).unwrap();
            prop_assert!((found - float(more)).abs() < 1e-9, "{}", found);
        }
    }
}

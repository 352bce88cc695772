//! The microversions that this API speaks, and the ones at which something changes here.

use kilonova_core::Microversion;

/// The oldest microversion, and the one of a request that names none.
pub const MIN_VERSION: Microversion = Microversion::new(2, 1);
/// The newest microversion: every change up to it is honoured by every route that exists.
pub const MAX_VERSION: Microversion = Microversion::new(2, 104);
/// The schema range of the legacy `/v2` API, which has no microversions.
pub(crate) const LEGACY: Microversion = Microversion::new(2, 0);

macro_rules! minors {
    ($( $name:ident = $minor:literal ),* $(,)?) => {
        $( pub(crate) const $name: Microversion = Microversion::new(2, $minor); )*
    };
}

minors! {
    V2_3 = 3, V2_5 = 5, V2_9 = 9, V2_16 = 16, V2_18 = 18, V2_19 = 19, V2_21 = 21, V2_25 = 25, V2_26 = 26, V2_31 = 31,
    V2_32 = 32, V2_33 = 33, V2_36 = 36, V2_37 = 37, V2_38 = 38, V2_41 = 41, V2_42 = 42, V2_47 = 47, V2_51 = 51,
    V2_52 = 52, V2_56 = 56, V2_57 = 57, V2_58 = 58, V2_62 = 62, V2_63 = 63, V2_65 = 65, V2_66 = 66, V2_67 = 67,
    V2_20 = 20, V2_60 = 60, V2_79 = 79, V2_85 = 85, V2_71 = 71, V2_72 = 72, V2_73 = 73, V2_74 = 74, V2_75 = 75, V2_83 = 83, V2_84 = 84, V2_89 = 89, V2_90 = 90,
    V2_93 = 93, V2_94 = 94, V2_96 = 96, V2_97 = 97, V2_98 = 98, V2_100 = 100, V2_101 = 101, V2_102 = 102, V2_103 = 103,
    V2_104 = 104,
}

minors! {
    V2_2 = 2, V2_6 = 6, V2_7 = 7, V2_8 = 8, V2_10 = 10, V2_11 = 11, V2_13 = 13, V2_14 = 14, V2_15 = 15, V2_17 = 17, V2_22 = 22, V2_23 = 23, V2_24 = 24, V2_28 = 28, V2_29 = 29, V2_30 = 30, V2_34 = 34, V2_35 = 35, V2_39 = 39, V2_40 = 40, V2_43 = 43, V2_45 = 45, V2_48 = 48, V2_49 = 49, V2_50 = 50, V2_53 = 53, V2_54 = 54, V2_55 = 55, V2_59 = 59, V2_61 = 61, V2_64 = 64, V2_68 = 68, V2_70 = 70, V2_76 = 76, V2_77 = 77, V2_78 = 78, V2_80 = 80, V2_81 = 81, V2_82 = 82, V2_86 = 86, V2_87 = 87, V2_88 = 88, V2_91 = 91, V2_92 = 92, V2_95 = 95, V2_99 = 99,
}

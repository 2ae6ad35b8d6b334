//! The table of data sets: names, addresses, lengths, sums, terms.

use crate::{Archive, Dataset, File};

/// Every data set that `cargo xtask data` can put in place.
pub const DATASETS: &[Dataset] = &[CIFAR10, CIFAR100, MNIST, FASHION_MNIST];

const KRIZHEVSKY: &str =
    "Alex Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report, 2009";

/// A file that only exists inside an archive.
const fn member(name: &'static str, bytes: u64, sha256: &'static str) -> File {
    File { name, urls: &[], bytes, sha256 }
}

const CIFAR10: Dataset = Dataset {
    name: "cifar10",
    title: "CIFAR-10: 50,000 training and 10,000 test images, 32x32 RGB, 10 classes",
    folder: "cifar-10-batches-bin",
    archive: Some(Archive {
        file: File {
            name: "cifar-10-binary.tar.gz",
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
            bytes: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        },
        folder: "cifar-10-batches-bin",
    }),
    files: &[
        member("data_batch_1.bin", 30_730_000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        member("data_batch_2.bin", 30_730_000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        member("data_batch_3.bin", 30_730_000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        member("data_batch_4.bin", 30_730_000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        member("data_batch_5.bin", 30_730_000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        member("test_batch.bin", 30_730_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ],
    homepage: "https://www.cs.toronto.edu/~kriz/cifar.html",
    licence: "none stated by the authors; the page asks for the citation",
    citation: KRIZHEVSKY,
};

const CIFAR100: Dataset = Dataset {
    name: "cifar100",
    title: "CIFAR-100: 50,000 training and 10,000 test images, 32x32 RGB, 100 classes in 20 groups",
    folder: "cifar-100-binary",
    archive: Some(Archive {
        file: File {
            name: "cifar-100-binary.tar.gz",
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
            bytes: 168_513_733,
            sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        },
        folder: "cifar-100-binary",
    }),
    files: &[
        member("train.bin", 153_700_000, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
        member("test.bin", 30_740_000, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
    ],
    homepage: "https://www.cs.toronto.edu/~kriz/cifar.html",
    licence: "none stated by the authors; the page asks for the citation",
    citation: KRIZHEVSKY,
};

const MNIST: Dataset = Dataset {
    name: "mnist",
    title: "MNIST: 60,000 training and 10,000 test images, 28x28 grey, 10 digits",
    folder: "mnist",
    archive: None,
    files: &[
        File {
            name: "train-images-idx3-ubyte.gz",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
            ],
            bytes: 9_912_422,
            sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        },
        File {
            name: "train-labels-idx1-ubyte.gz",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz",
            ],
            bytes: 28_881,
            sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        },
        File {
            name: "t10k-images-idx3-ubyte.gz",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-images-idx3-ubyte.gz",
            ],
            bytes: 1_648_877,
            sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        },
        File {
            name: "t10k-labels-idx1-ubyte.gz",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz",
            ],
            bytes: 4_542,
            sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ],
    homepage: "http://yann.lecun.com/exdb/mnist/",
    licence: "CC BY-SA 3.0, as commonly stated; the authors' page names none",
    citation: "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition, \
               Proceedings of the IEEE 86(11), 1998",
};

const FASHION_MNIST: Dataset = Dataset {
    name: "fashion-mnist",
    title: "Fashion-MNIST: 60,000 training and 10,000 test images, 28x28 grey, 10 classes",
    folder: "fashion-mnist",
    archive: None,
    files: &[
        File {
            name: "train-images-idx3-ubyte.gz",
            urls: &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/train-images-idx3-ubyte.gz",
            ],
            bytes: 26_421_880,
            sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        },
        File {
            name: "train-labels-idx1-ubyte.gz",
            urls: &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/train-labels-idx1-ubyte.gz",
            ],
            bytes: 29_515,
            sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        },
        File {
            name: "t10k-images-idx3-ubyte.gz",
            urls: &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/t10k-images-idx3-ubyte.gz",
            ],
            bytes: 4_422_102,
            sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        },
        File {
            name: "t10k-labels-idx1-ubyte.gz",
            urls: &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/t10k-labels-idx1-ubyte.gz",
            ],
            bytes: 5_148,
            sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ],
    homepage: "https://github.com/zalandoresearch/fashion-mnist",
    licence: "MIT, copyright 2017 Zalando SE",
    citation: "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning \
               Algorithms, arXiv:1708.07747, 2017",
};

# Homebrew on Linux: brew install --build-from-source ./aiocp.rb
class Aiocp < Formula
  desc "Copy files and trees at the speed of the device, hashed with BLAKE3"
  homepage "https://github.com/aiocp/aiocp"
  # A release adds the hash of its archive as `sha256`; until then only --HEAD installs.
  url "https://github.com/aiocp/aiocp/archive/refs/tags/v0.1.0.tar.gz"
  license any_of: ["MIT", "Apache-2.0"]
  head "https://github.com/aiocp/aiocp.git", branch: "main"

  depends_on "rust" => :build
  depends_on :linux

  def install
    system "cargo", "install", *std_cargo_args
    man1.install "man/aiocp.1", "man/aiosum.1"
    %w[aiocp aiosum].each do |command|
      bash_completion.install "completions/#{command}.bash" => command
      zsh_completion.install "completions/_#{command}"
      fish_completion.install "completions/#{command}.fish"
    end
  end

  test do
    (testpath/"from/below").mkpath
    (testpath/"from/below/file").write "data"
    system bin/"aiocp", "--manifest", "sums", "from", "to"
    assert_equal "data", (testpath/"to/below/file").read
    cd("to") { system bin/"aiosum", "--check", testpath/"sums" }
  end
end

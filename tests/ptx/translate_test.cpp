// What the translator does not know is refused, with the place.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace ptx {
namespace {

namespace fs = std::filesystem;

// What translate.py says of a kernel with these lines, and its exit status.
struct Said {
  std::string words;
  int status;
};
Said translate(const std::string& lines) {
  const fs::path folder =
      fs::temp_directory_path() / fmt::format("stagecoach_translate_{}", getpid());
  fs::create_directories(folder);
  std::ofstream(folder / "some.ptx")
      << ".version 9.0\n.entry some(\n.param .u64 some_param_0\n)\n{\n"
      << lines << "\nret;\n}\n";
  const std::string command = fmt::format("{} {} {} 2>&1", STAGECOACH_TRANSLATE, folder.string(),
                                          (folder / "some.ptx").string());
  FILE* pipe = popen(command.c_str(), "r");
  Said said;
  std::array<char, 256> part;
  while (fgets(part.data(), part.size(), pipe) != nullptr) said.words += part.data();
  said.status = pclose(pipe);
  fs::remove_all(folder);
  return said;
}

TEST(PtxTranslate, KnowsThis) {
  const Said said = translate(
      ".reg .pred %p<2>;\n.reg .b32 %r<3>;\n.reg .b64 %rd<3>;\n"
      "ld.param.u64 %rd1, [some_param_0];\ncvta.to.global.u64 %rd2, %rd1;\nmov.u32 %r1, %tid.x;\n"
      "setp.gt.u32 %p1, %r1, 7;\n@%p1 bra $L__BB0_1;\nst.global.u32 [%rd2+4], %r1;\n$L__BB0_1:");
  EXPECT_EQ(said.status, 0) << said.words;
  EXPECT_EQ(said.words, "");
}

TEST(PtxTranslate, RefusesTheRest) {
  const char* unknown[] = {"atom.global.max.u32 %r1, [%rd1], 1;",
                           "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [t, {%f5, %f6}];",
                           "call.uni (retval0), f, (param0);",
                           "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 %f1, %f2, %f3, %f4;",
                           "add.rz.f32 %f1, %f2, %f3;",
                           "cvt.rni.s32.f32 %r1, %f1;",
                           "bar.sync 1, 64;",
                           "ld.const.u32 %r1, [table];",
                           "sqrt.approx.f32 %f1, %f2;",
                           ".global .align 4 .b8 table[16];"};
  for (const char* line : unknown) {
    const Said said = translate(std::string("\n") + line);
    EXPECT_NE(said.status, 0) << line;
    EXPECT_NE(said.words.find("some.ptx:7: translate.py does not know this"), std::string::npos)
        << said.words;
    const std::string shown(line, std::min<std::size_t>(std::string(line).size(), 20));
    EXPECT_NE(said.words.find(shown), std::string::npos) << said.words;
  }
}

}  // namespace
}  // namespace ptx
